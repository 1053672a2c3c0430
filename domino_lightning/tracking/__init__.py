"""Where metrics go: CSV, Lightning's loggers, W&B online and offline."""
