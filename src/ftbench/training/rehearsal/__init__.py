"""Which rows of a prior task are rehearsed: samplers, the estimate of damage by bin, and the trace of both."""
