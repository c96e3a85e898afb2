package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// A Source says where a service finds a text: in a file, by its path, or in a
// secret, {"secret": ...}, whose value is in a variable or in a file that the variable names.
type Source struct {
	Path   string
	secret bool
	asFile bool
}

// UnmarshalJSON reads what a deployment declares.
func (s *Source) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &s.Path)
	}
	var ref struct {
		Secret *struct {
			As string `json:"as"`
		} `json:"secret"`
	}
	if err := json.Unmarshal(b, &ref); err != nil || ref.Secret == nil {
		return errors.Join(errors.New("wanted a path or a secret"), err)
	}
	s.secret, s.asFile = true, ref.Secret.As == "file"
	return nil
}

// Declared reports whether there is one.
func (s Source) Declared() bool { return s.secret || s.Path != "" }

// file returns the path of the file, or "" if the text is in a variable.
func (s Source) file(variable string) string {
	if s.asFile {
		return os.Getenv(variable)
	}
	return s.Path
}

// read returns the text.
func (s Source) read(variable string) ([]byte, error) {
	if path := s.file(variable); path != "" {
		return os.ReadFile(path)
	}
	text, ok := os.LookupEnv(variable)
	if !ok {
		return nil, errors.New("the secret is not given")
	}
	return []byte(text), nil
}

// A named source is one with the variable that has its value if it is a secret.
type named struct {
	Source
	variable string
}

// A reloaded part is made from sources, and made again when a file changes.
type reloaded struct {
	what    string // in logs and metrics
	sources []named
	make    func(texts [][]byte) error

	texts          [][]byte
	loaded, failed atomic.Uint64
}

// read returns the texts of all sources.
func (r *reloaded) read() ([][]byte, error) {
	texts := make([][]byte, len(r.sources))
	for i, s := range r.sources {
		var err error
		if texts[i], err = s.read(s.variable); err != nil {
			return nil, fmt.Errorf("%s: %w", r.what, err)
		}
	}
	return texts, nil
}

// load makes the part for the first time.
func (r *reloaded) load() (err error) {
	if r.texts, err = r.read(); err != nil {
		return err
	}
	if err := r.make(r.texts); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	r.loaded.Add(1)
	return nil
}

// look makes the part again if a text has changed. If that fails, the former one stays, and the
// same texts are not tried again.
func (r *reloaded) look() error {
	texts, err := r.read()
	if err != nil {
		texts = nil // as one text that differs from all others
	}
	if equal(texts, r.texts) {
		return nil
	}
	r.texts = texts
	if err == nil {
		if err = r.make(texts); err != nil {
			err = fmt.Errorf("%s: %w", r.what, err)
		}
	}
	if err != nil {
		r.failed.Add(1)
		return err
	}
	r.loaded.Add(1)
	return nil
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// every is how often files are looked at.
const every = time.Second

// watch looks at parts until ctx ends.
func watch(ctx context.Context, parts []*reloaded, log func(string)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, r := range parts {
			before := r.loaded.Load()
			if err := r.look(); err != nil {
				log("note: what was read before stays in use: " + err.Error())
			} else if r.loaded.Load() > before {
				log("note: read again: " + r.what)
			}
		}
	}
}
