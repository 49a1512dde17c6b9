"""What a browser gets at `/`: pages for operations people, over what the workers wrote.

How a page comes about, from the address to the screen:

    address     the page, time range and filters, all read from the URL: a link says everything
    data        what the pages ask for, as protocols; `source` answers them from the ledger and the workers' files
    keyring     virtual keys: issued ones beside those of the policy
    pages       one module a page; pure functions of the answers
    render      from an address to its page, or to why there is none
    parts       what pages are put together from: cards, tables, charts with their text
    figures     numbers, times and names as people read them
    frame       what stands around every page: navigation, time range, filters, the failure that is shown instead
    site        the Dash application: one callback that turns an address into a page
    doing       the buttons that change something
    calling     whether a body calls one of our callbacks
    bundles     the component library's files, compressed and kept by the browser
    export      tables as CSV
    assets/     our own style and script: no inline script, nothing from elsewhere

The library is Dash with Mantine components: its scripts come out of its package, its charts are its own.
"""
