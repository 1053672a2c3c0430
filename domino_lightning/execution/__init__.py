"""Running untrusted programs and comparing what they give."""
