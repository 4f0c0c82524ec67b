"""The event log on NATS JetStream, and the configuration of its server.

May not know: other engines, the hub, the domain.
"""
