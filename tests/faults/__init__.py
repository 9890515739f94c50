"""What the node does when things break: kills, hostile input, full disks."""
