"""Which upstream a call goes to, decided without I/O: circuit breaker, retry budget."""
