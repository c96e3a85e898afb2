package trees

// Masked reports whether an ensemble is evaluated by masks.
func (e *Ensemble) Masked() bool { return e.masks != nil }

// Unmasked is the same ensemble, which is walked.
func (e *Ensemble) Unmasked() *Ensemble {
	same := *e
	same.masks = nil
	return &same
}
