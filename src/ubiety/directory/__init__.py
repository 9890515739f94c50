"""Who there is: people, domains, where they come from and how they are kept in memory."""
