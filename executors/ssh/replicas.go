package ssh

// ReplicasShare implements [executors.SharedReplicas]: the host runs a service as this machine does.
func (e *Executor) ReplicasShare() {}
