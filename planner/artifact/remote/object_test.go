package remote_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// One object of a bucket is read, and nothing else of it: neither more than is allowed, nor what is not there.
func TestObjects(t *testing.T) {
	onEveryService(t, func(t *testing.T, at place) {
		s := open(t, at.url)
		const text = `{"version": 4}`
		ok(t, s.PutNote(t.Context(), "prod/network.tfstate", []byte(text)))
		object := func(name string) string {
			u, err := url.Parse(at.url)
			ok(t, err)
			u.Path += "/notes/prod/" + name
			return u.String()
		}
		if strings.HasPrefix(at.url, "file:") {
			if _, err := remote.Object(t.Context(), object("network.tfstate"), 100); err == nil || !strings.Contains(err.Error(), "names no object in a bucket") {
				t.Errorf("got %v", err)
			}
			return
		}
		got, err := remote.Object(t.Context(), object("network.tfstate"), int64(len(text)))
		ok(t, err)
		if string(got) != text {
			t.Errorf("got %q", got)
		}
		if _, err := remote.Object(t.Context(), object("network.tfstate"), int64(len(text))-1); err == nil || !strings.Contains(err.Error(), "it has more than 0 MiB") {
			t.Errorf("of a large object: %v", err)
		}
		if _, err := remote.Object(t.Context(), object("nothing"), 100); err == nil || !strings.Contains(err.Error(), "there is no nothing in ") || strings.Contains(err.Error(), "?") {
			t.Errorf("of no object: %v", err)
		}
	})
	for _, at := range []string{"s3://bucket", "s3://bucket/", "file:///etc/passwd"} {
		if _, err := remote.Object(t.Context(), at, 100); err == nil || !strings.Contains(err.Error(), "names no object in a bucket") {
			t.Errorf("%s: %v", at, err)
		}
	}
}

// Those who may only list blobs can open a store: the rights of units in clouds are for some prefixes.
func TestOpeningListsBlobsOnly(t *testing.T) {
	f := newGCS(t)
	var seen []string
	f.set(func(_ http.ResponseWriter, r *http.Request) bool {
		seen = append(seen, r.URL.Query().Get("prefix"))
		return false
	})
	open(t, f.url)
	if len(seen) != 1 || seen[0] != "some/prefix/cas/sha256/" {
		t.Errorf("it lists %q", seen)
	}
}
