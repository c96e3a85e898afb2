package aws

// BilledIn implements [executors.Billed].
func (e *Executor) BilledIn() string { return e.opts.Region }
