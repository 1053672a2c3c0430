"""Backbones and soft prompts on disk."""
