"""Clusters under load: logins, memory, latency and messages between nodes, and what a node's death costs."""
