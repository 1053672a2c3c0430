"""Language models to sample with: in this process, in vLLM, or behind a server; prompts and sampling."""
