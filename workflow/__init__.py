"""The pipeline: files in, files out. Each stage reads files, calls pconv, writes files."""
