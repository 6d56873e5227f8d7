"""The rules that the source itself keeps."""
