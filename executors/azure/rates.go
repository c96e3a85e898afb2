package azure

// BilledIn implements [executors.Billed].
func (e *Executor) BilledIn() string { return e.opts.Location }
