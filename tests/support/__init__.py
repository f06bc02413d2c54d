"""What tests share: where the services are that they need, and the servers that they start."""
