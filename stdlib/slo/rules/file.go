package rules

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// The shape of a Prometheus rule file.
type (
	// A File is a rule file.
	File struct{ Groups []Group }
	// A Group is evaluated together.
	Group struct {
		Name  string
		Rules []Rule
	}
	// A Rule records a metric or is an alert.
	Rule struct {
		Record      string            `yaml:",omitempty"`
		Alert       string            `yaml:",omitempty"`
		Expr        string            ``
		For         string            `yaml:",omitempty"`
		Labels      map[string]string `yaml:",omitempty"`
		Annotations map[string]string `yaml:",omitempty"`
	}
)

// Text returns the file as YAML.
func (f File) Text() (string, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(f); err != nil {
		return "", err
	}
	return b.String(), enc.Close()
}
