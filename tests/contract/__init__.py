"""What both stores promise: every sentence is tested on the memory store and on a real server."""
