"""One small file for each outside framework. Nothing here is imported by the suite itself."""
