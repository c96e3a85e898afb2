package remote_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A fake implements the part of a service's protocol that stores use, and fails on
// request.
type fake struct {
	url      string // of a store in it
	endpoint string
	// fault sees a request first and may answer it; nil does nothing.
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request) (answered bool)]
	// cut is how many bytes of the next blobs are sent; 0 for all.
	cut      atomic.Int64
	requests atomic.Int64

	mu      sync.Mutex
	blobs   map[string][]byte
	uploads map[string]*upload // GCS: by number
	blocks  map[string][]byte  // Azure: not in a blob yet
	handler http.Handler
}

// An upload is what has arrived of a blob that is sent in parts.
type upload struct {
	key  string
	data []byte
}

const fakeSecret = "aHVudGVyMg==" // hunter2

func newFake(t *testing.T) *fake {
	f := &fake{blobs: map[string][]byte{}, uploads: map[string]*upload{}, blocks: map[string][]byte{}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		if fault := f.fault.Load(); fault != nil && (*fault)(w, r) {
			return
		}
		f.handler.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	f.endpoint = server.URL
	return f
}

func (f *fake) set(fault func(w http.ResponseWriter, r *http.Request) bool) { f.fault.Store(&fault) }

func (f *fake) mend() { f.fault.Store(nil) }

// blob answers a request for a blob, or for the end of one.
func (f *fake) blob(w http.ResponseWriter, r *http.Request, data []byte) {
	var from int64
	span := r.Header.Get("x-ms-range") + r.Header.Get("Range")
	if span != "" {
		if _, err := fmt.Sscanf(span, "bytes=%d-", &from); err != nil || from >= int64(len(data)) {
			http.Error(w, span, http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(data)-1, len(data)))
	}
	data = data[from:]
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	if span != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	if n := f.cut.Load(); r.Method == http.MethodGet && n > 0 && n < int64(len(data)) {
		_, _ = w.Write(data[:n])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(data)
	}
}

// page returns the keys after one of them that begin with a prefix. It returns at most
// two, so that tests see several pages.
func (f *fake) page(prefix, after, most string) (keys []string, more bool) {
	for _, key := range slices.Sorted(maps.Keys(f.blobs)) {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	n, err := strconv.Atoi(most)
	if err != nil {
		n = 2
	}
	if n = min(n, 2); len(keys) > n {
		return keys[:n], true
	}
	return keys, false
}

// newGCS returns a fake of Google Cloud Storage, see
// https://cloud.google.com/storage/docs/json_api/v1 and
// https://cloud.google.com/storage/docs/performing-resumable-uploads.
func newGCS(t *testing.T) *fake {
	f := newFake(t)
	f.url = "gs://bucket/some/prefix"
	t.Setenv("STORAGE_EMULATOR_HOST", f.endpoint)
	mux := http.NewServeMux()
	on := func(pattern string, handle func(w http.ResponseWriter, r *http.Request, key string)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if r.PathValue("bucket") != "bucket" {
				http.Error(w, `{"error": {"message": "The specified bucket does not exist."}}`, http.StatusNotFound)
				return
			}
			handle(w, r, r.PathValue("key"))
		})
	}
	on("GET /storage/v1/b/{bucket}/o", func(w http.ResponseWriter, r *http.Request, _ string) {
		type item struct {
			Name string `json:"name"`
		}
		var out struct {
			Items []item `json:"items"`
			Next  string `json:"nextPageToken,omitempty"`
		}
		q := r.URL.Query()
		keys, more := f.page(q.Get("prefix"), q.Get("pageToken"), q.Get("maxResults"))
		for _, key := range keys {
			out.Items = append(out.Items, item{key})
		}
		if more {
			out.Next = keys[len(keys)-1]
		}
		_ = json.NewEncoder(w).Encode(out)
	})
	on("GET /storage/v1/b/{bucket}/o/{key}", func(w http.ResponseWriter, r *http.Request, key string) {
		data, there := f.blobs[key]
		switch {
		case !there:
			http.Error(w, "No such object: bucket/"+key, http.StatusNotFound)
		case r.URL.Query().Get("alt") == "media":
			f.blob(w, r, data)
		default:
			fmt.Fprintf(w, `{"size": "%d"}`, len(data))
		}
	})
	on("DELETE /storage/v1/b/{bucket}/o/{key}", func(w http.ResponseWriter, _ *http.Request, key string) {
		if _, there := f.blobs[key]; !there {
			http.Error(w, "No such object", http.StatusNotFound)
			return
		}
		delete(f.blobs, key)
		w.WriteHeader(http.StatusNoContent)
	})
	on("POST /upload/storage/v1/b/{bucket}/o", func(w http.ResponseWriter, r *http.Request, _ string) {
		key := r.URL.Query().Get("name")
		if r.URL.Query().Get("uploadType") == "resumable" {
			if kind := r.Header.Get("Content-Type"); kind != "" || r.ContentLength != 0 { // it would be the blob's metadata, as JSON
				http.Error(w, "Unsupported content with type: "+kind, http.StatusBadRequest)
				return
			}
			id := strconv.Itoa(len(f.uploads))
			f.uploads[id] = &upload{key: key}
			w.Header().Set("Location", f.endpoint+r.URL.Path+"?uploadType=resumable&upload_id="+id)
			return
		}
		if data, err := io.ReadAll(r.Body); err == nil {
			f.blobs[key] = data
			fmt.Fprint(w, "{}")
		}
	})
	on("PUT /upload/storage/v1/b/{bucket}/o", func(w http.ResponseWriter, r *http.Request, _ string) {
		f.sendPart(w, r, f.uploads[r.URL.Query().Get("upload_id")])
	})
	on("DELETE /upload/storage/v1/b/{bucket}/o", func(w http.ResponseWriter, r *http.Request, _ string) {
		delete(f.uploads, r.URL.Query().Get("upload_id"))
		w.WriteHeader(499)
	})
	f.handler = mux
	return f
}

// sendPart takes as much of a part of an upload as arrives.
func (f *fake) sendPart(w http.ResponseWriter, r *http.Request, u *upload) {
	if u == nil {
		http.Error(w, "no such upload", http.StatusNotFound)
		return
	}
	span, total, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Content-Range"), "bytes "), "/")
	if from, _, is := strings.Cut(span, "-"); is {
		if n, err := strconv.Atoi(from); err != nil || n != len(u.data) {
			http.Error(w, "the upload goes on elsewhere", http.StatusBadRequest)
			return
		}
		data, err := io.ReadAll(r.Body)
		if total == "*" && err == nil && len(data)%(256<<10) != 0 {
			http.Error(w, "parts are multiples of 256 KiB", http.StatusBadRequest)
			return
		}
		u.data = append(u.data, data[:len(data)-len(data)%(256<<10)]...) // only whole pieces of an interrupted part
		if err != nil {
			return
		}
		if total != "*" {
			u.data = append(u.data, data[len(data)-len(data)%(256<<10):]...)
		}
	}
	if total == strconv.Itoa(len(u.data)) {
		f.blobs[u.key] = u.data
		delete(f.uploads, r.URL.Query().Get("upload_id"))
		fmt.Fprint(w, "{}")
		return
	}
	if len(u.data) > 0 {
		w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", len(u.data)-1))
	}
	w.WriteHeader(http.StatusPermanentRedirect)
}

// newAzure returns a fake of Azure Blob Storage, see
// https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api.
func newAzure(t *testing.T) *fake {
	f := newFake(t)
	f.url = "azblob://container/some/prefix?protocol=http&localemu=true&domain=" + strings.TrimPrefix(f.endpoint, "http://")
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_KEY", fakeSecret)
	missing := func(w http.ResponseWriter, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(http.StatusNotFound)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/account/{container}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if r.PathValue("container") != "container" {
			missing(w, "ContainerNotFound")
			return
		}
		q := r.URL.Query()
		keys, more := f.page(q.Get("prefix"), q.Get("marker"), q.Get("maxresults"))
		fmt.Fprint(w, "<EnumerationResults><Blobs>")
		for _, key := range keys {
			fmt.Fprint(w, "<Blob><Name>", key, "</Name><Properties/></Blob>")
		}
		fmt.Fprint(w, "</Blobs><NextMarker>")
		if more {
			fmt.Fprint(w, keys[len(keys)-1])
		}
		fmt.Fprint(w, "</NextMarker></EnumerationResults>")
	})
	mux.HandleFunc("/account/container/{key...}", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		key := r.PathValue("key")
		data, there := f.blobs[key]
		switch {
		case r.Method == http.MethodPut:
			if err := f.azurePut(r, key); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusCreated)
		case !there:
			missing(w, "BlobNotFound")
		case r.Method == http.MethodDelete:
			delete(f.blobs, key)
			w.WriteHeader(http.StatusAccepted)
		default:
			f.blob(w, r, data)
		}
	})
	f.handler = mux
	return f
}

func (f *fake) azurePut(r *http.Request, key string) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	switch r.URL.Query().Get("comp") {
	case "":
		f.blobs[key] = body
	case "block":
		f.blocks[r.URL.Query().Get("blockid")] = body
	case "blocklist":
		var list struct {
			Latest []string
		}
		if err := xml.Unmarshal(body, &list); err != nil {
			return err
		}
		var data []byte
		for _, id := range list.Latest {
			block, there := f.blocks[id]
			if !there {
				return errors.New("a block is missing")
			}
			data = append(data, block...)
		}
		f.blobs[key] = data
	}
	return nil
}
