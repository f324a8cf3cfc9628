"""`ostiary demo`: a real MCP server, a real gateway in front of it, and a short tour of what happens."""
