"""The policy language: what operations people write in YAML, read strictly and handed on as frozen values.

model      the whole language as pydantic models; `upstreams`, `caching` and `scalars` are its parts
loader     a file and an environment in, a checked Policy out, or every problem with its file and line
document   YAML to a tree of nodes that know their lines; hostile input ends here
expand     ${ENV_NAME} in values; secrets may come from nowhere else
checks     names that must exist elsewhere in the file, or on disk
watch      has the file changed?
schema     the language as JSON Schema, for editors
"""
