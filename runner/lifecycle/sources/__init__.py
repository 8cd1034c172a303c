"""Where experiments come from: brokers and queues that come and go with their credentials."""
