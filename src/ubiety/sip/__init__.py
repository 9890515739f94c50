"""SIP without I/O: messages, transactions, dialogs, subscriptions, sessions as values and state machines."""
