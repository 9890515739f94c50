"""SIP over real sockets: stacks, certificates and SIPp for whoever tests something that speaks SIP."""
