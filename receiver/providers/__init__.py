"""Provider descriptions: one TOML file an API; README.md says how to write one."""
