package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// A patience is how long to keep trying.
type patience struct {
	tries int           // after the first attempt
	pause time.Duration // before the first of them; it doubles, up to longest
	stall time.Duration // without an answer
}

const longest = 20 * time.Second

// wait waits before a retry. The first retry is 1.
func (p patience) wait(ctx context.Context, try int) error {
	select {
	case <-time.After(p.delay(try)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// delay is between half of the pause and the whole pause, so that many clients do not
// retry at once.
func (p patience) delay(try int) time.Duration {
	d := min(p.pause<<min(try-1, 16), longest)
	return d/2 + rand.N(d/2+1)
}

// Open opens the store at a URL, and checks that it exists and is readable:
//
//	file:///folder
//	s3://bucket/prefix?region=...&endpoint=...&use_path_style=true
//	gs://bucket/prefix
//	azblob://container/prefix?storage_account=...
//
// Credentials are those that the service's own tools find.
func Open(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, usual, false)
}

// OpenWriteOnly opens the store at a URL for a program that may write there, and neither read
// nor list. The store sends everything, also what is there already, and finds out with the
// first of it whether it can be reached.
func OpenWriteOnly(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, usual, true)
}

var usual = patience{tries: 7, pause: time.Second, stall: time.Minute}

// Check returns what is wrong with the URL of a store. It does not access the network.
func Check(url string) error {
	_, _, err := parse(url)
	return err
}

func open(ctx context.Context, text string, p patience, writeOnly bool) (*Store, error) {
	u, service, err := parse(text)
	if err != nil {
		return nil, err
	}
	s := newStore(u, service, p)
	s.writeOnly = writeOnly
	if s.bucket, err = service.open(ctx, s, u); err != nil {
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			return nil, s.explain("open", err)
		}
		return nil, fmt.Errorf("open the store %s: %w", s.name, err)
	}
	if writeOnly {
		return s, nil
	}
	// Those who may only use a part of the bucket may list blobs, and not what else is below the prefix.
	for _, err := range s.bucket.list(ctx, s.prefix+blobs, 1) {
		if errors.Is(err, errAbsent) {
			return nil, errors.Join(fmt.Errorf("store %s: no %s %q: create it, or correct the URL", s.name, service.bucket, u.Host), s.Close())
		}
		if err != nil {
			return nil, errors.Join(s.explain("list what is in it", err), s.Close())
		}
		break
	}
	return s, nil
}

// Beside returns the store at another URL in the bucket of s, over the same connections, and without looking whether it can be
// reached. It returns nil if the URL is not in this bucket, or has other settings. It can be used until s is closed.
func (s *Store) Beside(text string) *Store {
	u, service, err := parse(text)
	if err != nil || u.Scheme == "file" || placeOf(u) != s.place {
		return nil
	}
	x := newStore(u, service, s.patience)
	x.bucket, x.remedy, x.writeOnly, x.borrowed = s.bucket, s.remedy, s.writeOnly, true
	return x
}

// placeOf returns a URL without its path.
func placeOf(u *url.URL) string { return u.Scheme + "://" + u.Host + "?" + u.RawQuery }

// newStore returns the store at a URL without its bucket.
func newStore(u *url.URL, service service, p patience) *Store {
	s := &Store{name: u.Scheme + "://" + u.Host + u.Path, remedy: service.remedy, patience: p, place: placeOf(u)}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" && u.Scheme != "file" {
		s.prefix = prefix + "/"
	}
	return s
}

// A service is a type of store.
type service struct {
	bucket   string   // the service's term for a bucket; "" for none
	settings []string // parameters of its URLs
	remedy   string   // remedy after a refusal
	open     func(ctx context.Context, s *Store, u *url.URL) (bucket, error)
}

var services = map[string]service{
	"file": {
		remedy: "the user of tenon, and user 65532 in a cluster, need to read and write that folder and its contents: `chgrp -R 65532 FOLDER && chmod -R g+rwXs FOLDER` allows it for the group",
		open:   openFile,
	},
	"s3": {
		bucket:   "bucket",
		settings: s3Settings,
		remedy:   "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (for pods in the Secret that the target names as store_secret), to credentials that may list, get, put and delete there; the endpoint and the region are in the URL",
		open:     openS3,
	},
	"gs": {
		bucket: "bucket", settings: []string{"anonymous"},
		remedy: "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account that may list, get, create and delete objects there, or run gcloud auth application-default login",
		open:   openGCS,
	},
	"azblob": {
		bucket: "container", settings: []string{"domain", "localemu", "protocol", "storage_account"},
		remedy: "set AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or what az login sets, to credentials that may list, read, write and delete blobs there",
		open:   openAzure,
	},
}

// parse checks everything in a URL that can be checked offline.
func parse(text string) (*url.URL, service, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error quotes the URL, which may hold a password.
		return nil, service{}, errors.New("invalid URL of a store: use " + forms)
	}
	if u.User != nil {
		return nil, service{}, fmt.Errorf("the URL of the store %s://%s contains credentials: remove them and set them in the environment", u.Scheme, u.Host)
	}
	x, ok := services[u.Scheme]
	if !ok {
		return nil, x, fmt.Errorf("the URL of the store %q has an unknown scheme: use %s", u.Redacted(), forms)
	}
	if u.Opaque != "" || u.Fragment != "" || x.bucket != "" && u.Host == "" || x.bucket == "" && (u.Host != "" || u.Path == "") {
		return nil, x, fmt.Errorf("the URL of the store %q is incomplete: use %s", u.Redacted(), forms)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, x, fmt.Errorf("invalid settings in the URL of the store %s://%s: use name=value, separated by &", u.Scheme, u.Host)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(x.settings, name) {
			known := "it has no settings"
			if len(x.settings) > 0 {
				known = "use " + strings.Join(x.settings, ", ")
			}
			return nil, x, fmt.Errorf("the URL of the store has the setting %q, which %s:// does not support: %s", name, u.Scheme, known)
		}
		if len(q[name]) > 1 || q.Get(name) == "" {
			return nil, x, fmt.Errorf("the URL of the store needs one value for the setting %q", name)
		}
	}
	if p := strings.TrimSuffix(u.Path, "/"); p != "" && path.Clean(p) != p {
		return nil, x, fmt.Errorf("the URL of the store has the path %q: remove empty, . and .. parts", u.Path)
	} else if p != "" {
		u.Path = p
	}
	return u, x, nil
}

const forms = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azblob://CONTAINER/PREFIX"
