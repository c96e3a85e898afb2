package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Manifests returns the objects that a cluster would get for units, as far as they are
// known without a plan. Values that only an apply can settle hold a placeholder, and an
// annotation of each object lists them.
func (e *Executor) Manifests(units []ir.Unit) ([]executors.Manifest, error) {
	return manifests(e.opts.Settings.manifests(units))
}

func (s Settings) manifests(units []ir.Unit) []object {
	var all []object
	for _, u := range units {
		if u.Kind == ir.Record {
			continue // tenon writes records itself
		}
		t := executors.Task{Unit: u, Name: executors.TaskName(s.Env, u.ID, unsettled, 1), Env: map[string]string{}}
		for _, x := range u.Secrets {
			if x.Kubernetes == nil {
				t.Env[x.Name] = ""
			}
		}
		objects := s.objects(t, s.image(u), unsettled, 0)
		if s.Cluster != nil {
			objects = append(objects, s.account(u))
		}
		if u.Endpoint != nil {
			objects = append(objects, s.service(t))
			if o := s.exposed(t); o != nil {
				objects = append(objects, o)
			}
		}
		for _, o := range objects {
			note(o, u)
		}
		all = append(all, objects...)
	}
	return all
}

// unsettled is the placeholder for a digest that only an apply can compute.
const unsettled = "unsettled"

// image returns the image of a unit, or the base that its image is built on.
func (s Settings) image(u ir.Unit) string {
	if u.Code.Image != "" {
		return u.Code.Image
	}
	return s.Base
}

// note lists in an annotation of an object which of its values an apply settles.
func note(o object, u ir.Unit) {
	what := "the digest in the name of the task"
	switch o.GetObjectKind().GroupVersionKind().Kind {
	case "ConfigMap":
		what += ", the data"
	case "Secret":
		what += ", the values"
	case "Job", "Deployment":
		what += ", the image, which is built on this one, the digest of --task"
		if u.Needs.Disk > 0 {
			what += ", the limit of ephemeral-storage, with room for what it reads"
		}
	}
	o.SetAnnotations(merged(o.GetAnnotations(), map[string]string{annotationSettled: what}))
}

// manifests renders objects as documents, without the fields that only a cluster fills
// in.
func manifests(objects []object) ([]executors.Manifest, error) {
	var all []executors.Manifest
	for _, o := range objects {
		m, err := manifest(o)
		if err != nil {
			return nil, fmt.Errorf("write %s %s: %w", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), err)
		}
		all = append(all, m)
	}
	return all, nil
}

func manifest(o object) (m executors.Manifest, err error) {
	if m.JSON, err = json.Marshal(o); err != nil {
		return m, err
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(m.JSON))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return m, err
	}
	delete(fields, "status")
	m.YAML, err = yaml.Marshal(fields)
	return m, err
}
