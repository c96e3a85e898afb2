package ir

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// Sum returns the digest of b as "sha256:<hex>".
func Sum(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

// Define computes the digest of the unit's definition: what affects its result, and
// nothing else. It excludes the unit's id, positions, resources, replicas, retries,
// timeouts and maximum ages, so that the jobs of a renamed entity find their earlier
// results. It also excludes the documentation of columns, except in the request and the
// response of an endpoint, which a service shows. Services and records contain names in
// what they are or write: these are in their parameters, so a rename changes their
// digests. The compiler calls Define once, last.
func (u *Unit) Define() error {
	inputs := make([]Input, len(u.Inputs))
	for i, in := range u.Inputs {
		in.Unit, in.From = "", ""
		in.Schema = in.Schema.Bare()
		inputs[i] = in
	}
	outputs := slices.Clone(u.Outputs)
	for i := range outputs {
		outputs[i].Schema, outputs[i].Signature = outputs[i].Schema.Bare(), outputs[i].Signature.Bare()
	}
	endpoint := u.Endpoint
	if endpoint != nil {
		endpoint = &Endpoint{Host: endpoint.Host, Port: endpoint.Port, Ready: endpoint.Ready, TLS: endpoint.TLS, Management: endpoint.Management}
	}
	d := struct {
		Kind      Kind
		Component string
		Code      Code
		Params    json.RawMessage
		Files     []string
		Inputs    []Input
		Outputs   []Output
		Secrets   []Secret
		Seed      int64
		Endpoint  *Endpoint
		Monitor   *Monitor `json:",omitempty"`
		Loop      *Loop    `json:",omitempty"`
	}{u.Kind, u.Component, u.Code, u.Params, u.Files, inputs, outputs, u.Secrets, u.Seed, endpoint, u.Monitor, u.Loop}
	b, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("digest of %s: %w", u.ID, err)
	}
	u.Digest = Sum(b)
	return nil
}

// RunKey identifies one run of a unit: its definition together with its inputs. inputs
// maps a port, or "file:"+path for a data file, to a digest.
func RunKey(definition string, inputs map[string]string) string {
	ports := make([]string, 0, len(inputs))
	for p := range inputs {
		ports = append(ports, p)
	}
	slices.Sort(ports)
	b := append(make([]byte, 0, 256), definition...)
	b = append(b, '\n')
	for _, p := range ports {
		b = append(strconv.AppendQuote(b, p), ' ')
		b = append(append(b, inputs[p]...), '\n')
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:16])
}
