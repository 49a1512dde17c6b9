"""Other gateways' configurations, made into policies.

foreign    a YAML file of another program, anchors and all, as plain values of bounded size
litellm    LiteLLM's config.yaml in; a policy text out, and a list of what could not be carried over
providers  as LiteLLM names them
reasons    why what is not carried over is not
report     what an import found to say
entries    one entry of its model_list: where it is answered, at which price
"""
