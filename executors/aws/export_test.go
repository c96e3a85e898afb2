package aws

// RunName returns the name of a task in the region.
func RunName(lineage, task string) string { return New(Options{State: lineage}).runName(task) }

// BatchAPI is what is called of AWS Batch.
type BatchAPI = batchAPI

// Wrap puts something between an executor that has not connected yet and AWS Batch.
func Wrap(e *Executor, wrap func(BatchAPI) BatchAPI) { e.wrap = wrap }
