package gcptest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

//go:embed apis.json
var apisText []byte

// The APIs, as reduce.py writes them from Google's discovery documents.
type apis struct {
	Versions map[string]string              `json:"versions"`
	Methods  []method                       `json:"methods"`
	Schemas  map[string]map[string]property `json:"schemas"`
}

// A method is a call. Its path has names in braces.
type method struct {
	ID       string   `json:"id"`
	Method   string   `json:"method"`
	Path     string   `json:"path"`
	Query    []string `json:"query"`
	Request  string   `json:"request"`
	Response string   `json:"response"`

	pattern *regexp.Regexp
}

type property struct {
	Ref        string    `json:"$ref"`
	Type       string    `json:"type"`
	Enum       []string  `json:"enum"`
	ReadOnly   bool      `json:"readOnly"`
	Items      *property `json:"items"`
	Additional *property `json:"additionalProperties"`
}

func readAPIs() (a apis, err error) {
	if err := json.Unmarshal(apisText, &a); err != nil {
		return a, err
	}
	for i, m := range a.Methods {
		pattern := regexp.MustCompile(`\\\{[a-zA-Z0-9]+\\\}`).ReplaceAllString(regexp.QuoteMeta(m.Path), "([^/:]+)")
		if a.Methods[i].pattern, err = regexp.Compile("^" + pattern + "$"); err != nil {
			return a, err
		}
	}
	return a, nil
}

// find returns the method of a request and the names in its path.
func (a apis) find(r *http.Request) (m method, names []string, err error) {
	for _, m := range a.Methods {
		if found := m.pattern.FindStringSubmatch(r.URL.Path); found != nil && m.Method == r.Method {
			return m, found[1:], queryFits(m, r.URL.Query())
		}
	}
	return m, nil, fmt.Errorf("no API has the method %s %s", r.Method, r.URL.Path)
}

func queryFits(m method, q url.Values) error {
	for k := range q {
		if !slices.Contains(m.Query, k) {
			return fmt.Errorf("%s has no parameter %s", m.ID, k)
		}
	}
	return nil
}

// fits compares a value with a schema: in what is sent, nothing may be set that only Google sets.
func (a apis) fits(schema string, v any, sent bool) error {
	api, _, _ := strings.Cut(schema, ".")
	object, is := v.(map[string]any)
	if !is {
		return fmt.Errorf("%s is not an object", schema)
	}
	props, known := a.Schemas[schema]
	if !known {
		return fmt.Errorf("there is no schema %s", schema)
	}
	for k, x := range object {
		p, ok := props[k]
		switch {
		case !ok:
			return fmt.Errorf("%s has no field %s", schema, k)
		case sent && p.ReadOnly:
			return fmt.Errorf("%s of %s cannot be set", k, schema)
		}
		if err := a.value(api, p, x, sent); err != nil {
			return fmt.Errorf("%s of %s: %w", k, schema, err)
		}
	}
	return nil
}

func (a apis) value(api string, p property, v any, sent bool) error {
	ok := true
	switch p.Type {
	case "":
		return a.fits(api+"."+p.Ref, v, sent)
	case "string":
		var s string
		if s, ok = v.(string); ok && len(p.Enum) > 0 && !slices.Contains(p.Enum, s) {
			return fmt.Errorf("%q is none of %s", s, strings.Join(p.Enum, ", "))
		}
	case "boolean":
		_, ok = v.(bool)
	case "integer":
		n, is := v.(float64)
		ok = is && n == float64(int64(n))
	case "array":
		var list []any
		list, ok = v.([]any)
		for _, x := range list {
			if err := a.value(api, *p.Items, x, sent); err != nil {
				return err
			}
		}
	case "object":
		var object map[string]any
		object, ok = v.(map[string]any)
		for k, x := range object {
			if err := a.value(api, *p.Additional, x, sent); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
		}
	}
	if !ok {
		return fmt.Errorf("%v is not of type %s", v, p.Type)
	}
	return nil
}
