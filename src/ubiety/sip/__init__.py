"""SIP without I/O: messages, transactions, dialogs, subscriptions and sessions as values and state machines."""
