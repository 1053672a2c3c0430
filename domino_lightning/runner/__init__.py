"""From a document to finished stages: plan, process, child process, smoke runs."""
