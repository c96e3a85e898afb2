package tofutest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/test/tfschema"
)

// schemas are those that the tests of executors have, by the name of the provider.
var schemas = map[string]string{"aws": "aws", "azurerm": "azure", "google": "gcp"}

// A Cloud is a test bed whose providers are made from schemas. They keep resources in a folder.
type Cloud struct {
	*Bed
	// Dir has the resources: TYPE/DIGEST.json is one, with its values. Who edits or removes a file changes a resource from
	// outside.
	Dir string
}

// Variables that change what providers made from schemas do.
const (
	// Hook has the URL that gets each [Change] before it is made. A status other than 2xx refuses it.
	Hook = "TENON_TEST_HOOK"
	// Fault is what happens at a call that changes a resource, counted from 1: "3 kill" kills the program that has
	// started OpenTofu before the third call, "3 killed" after it, "3 group" and "3 grouped" kill OpenTofu and the provider as well, "3
	// fail" refuses it, and "3 block" waits until the file "blocked" in the folder of the cloud is removed.
	Fault = "TENON_TEST_FAULT"
)

// Schemas returns the path of the program of all providers that are made from schemas, and builds it if the cache
// lacks it.
func Schemas(w io.Writer) (string, error) { return provider(w, "schemas") }

// StartCloud makes a test bed for all clouds with files below a folder. It builds the programs if the cache lacks them,
// which takes minutes, and reports that to w.
func StartCloud(w io.Writer, dir string) (*Cloud, error) {
	program, err := Schemas(w)
	if err != nil {
		return nil, err
	}
	root, err := repository()
	if err != nil {
		return nil, err
	}
	var plugins []plugin
	links := map[string]string{}
	for name, executor := range schemas {
		path := filepath.Join(root, "executors", executor, "testdata", "schema.json")
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		s, err := tfschema.Read(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		plugins = append(plugins, plugin{name, s.Version, program})
		links[filepath.Join(dir, "schemas", name+".json")] = path
	}
	if err := link(links); err != nil {
		return nil, err
	}
	bed, err := start(w, dir, plugins...)
	if err != nil {
		return nil, err
	}
	c := &Cloud{bed, filepath.Join(dir, "cloud")}
	c.environ = append(c.environ, "TENON_TEST_SCHEMAS="+filepath.Join(dir, "schemas"), "TENON_TEST_CLOUD="+c.Dir)
	return c, nil
}

// Resources returns what there is, as "TYPE ID", sorted.
func (c *Cloud) Resources() (all []string, err error) {
	paths, err := filepath.Glob(filepath.Join(c.Dir, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var r struct{ Type, ID string }
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, r.Type+" "+r.ID)
	}
	slices.Sort(all)
	return all, nil
}

// Calls returns the calls that were to change a resource, as "create TYPE ID", in their order. One that failed is
// among them.
func (c *Cloud) Calls() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(c.Dir, "calls"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte("\n"))), "\n"), err
}

// A Change is what the hook gets.
type Change struct {
	Action string         `json:"action"` // "create", "update" or "delete"
	Type   string         `json:"type"`
	ID     string         `json:"id"`
	Values map[string]any `json:"values"`
}

// Text returns the value of an attribute that is a text, or "".
func (c Change) Text(attribute string) string {
	text, _ := c.Values[attribute].(string)
	return text
}

// Answer answers a request of the hook with what make returns, which refuses the change if it is an error.
func Answer(w http.ResponseWriter, r *http.Request, make func(Change) error) {
	var c Change
	err := json.NewDecoder(r.Body).Decode(&c)
	if err == nil {
		err = make(c)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
	}
}
