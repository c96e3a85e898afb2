package bundle

import "github.com/tenon-ml/tenon/stdlib/step"

// A Question is what tenon asks of tenon-serve, as JSON over its standard input: to write the
// parts of a bundle that are made of artifacts.
type Question struct {
	Service step.Step `json:"service"` // with the paths of this machine
	// Features and Source are those of the parity check, if there is one.
	Features *step.Port `json:"features,omitempty"`
	Source   *step.Port `json:"source,omitempty"`
	Rows     int        `json:"rows"` // of the sample
	Dir      string     `json:"dir"`
}

// An Answer says what a bundle has.
type Answer struct {
	Sampled int `json:"sampled"` // rows of the source
	Checked int `json:"checked"` // rows of the model
}
