"""The policy language: what operations people write in YAML, read strictly and handed on as frozen values.

model      the whole language as pydantic models; `upstreams`, `caching`, `money` and `scalars` are its parts
loader     a file and an environment in, a checked Policy out, or every problem with its file and line
document   YAML to a tree of nodes that know their lines; hostile input ends here
expand     ${ENV_NAME} in values; secrets may come from nowhere else
checks     names that must exist elsewhere in the file, or on disk; `costs` and `reach` are its parts
words      what may have been meant by a name that nothing bears
watch      has the file changed?
schema     the language as JSON Schema, for editors
history    every version that came into force, kept, named, compared and put back; `versions` is its index,
           `target` the policy file as something to write, `durable` how files are written
difference how one text differs from another
shown      a text as it may be shown
importers/ other gateways' configurations, made into policies
"""
