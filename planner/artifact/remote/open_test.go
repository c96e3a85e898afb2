package remote_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

func TestInvalidURLs(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	occupied := file(t, 1)
	for _, tt := range []struct{ url, want string }{
		{"", "unknown scheme: use file:///FOLDER, s3://BUCKET/PREFIX"},
		{"/mnt/artifacts", "unknown scheme"},
		{"http://host/bucket", "unknown scheme"},
		{"s3:bucket", "is incomplete"},
		{"s3://", "is incomplete"},
		{"s3:///prefix", "is incomplete"},
		{"gs://", "is incomplete"},
		{"azblob:///x", "is incomplete"},
		{"s3://bucket#x", "is incomplete"},
		{"file://", "is incomplete"},
		{"file://mnt/artifacts", "is incomplete: use file:///FOLDER"},
		{"file:///mnt/../etc", "remove empty, . and .. parts"},
		{"s3://bucket/../other", "remove empty, . and .. parts"},
		{"s3://bucket//a", "remove empty, . and .. parts"},
		{"s3://key:hunter2@bucket/prefix", "s3://bucket contains credentials: remove them"},
		{"s3://key:hunter2@buc ket", "invalid URL"},
		{"s3://bucket?region=us-east-1&endpoint=http://key:hunter2@host", "http://host contains credentials: remove them"},
		{"s3://bucket?region=us-east-1&endpoint=host:9000", "use http://HOST:PORT"},
		{"s3://bucket?secret=hunter2", `the setting "secret", which s3:// does not support: use anonymous, dualstack, endpoint`},
		{"s3://bucket?region=a&region=b", `one value for the setting "region"`},
		{"s3://bucket?region=", `one value for the setting "region"`},
		{"s3://bucket?region=%zz", "use name=value"},
		{"s3://bucket", "no region: add region=... to the URL"},
		{"s3://bucket?region=a&use_path_style=yes", "want true or false"},
		{"s3://bucket?region=a&ssetype=rot13", "want one of [AES256"},
		{"file:///mnt?create_dir=true", `file:// does not support: it has no settings`},
		{"gs://bucket?access_id=x", "gs:// does not support: use anonymous"},
		{"azblob://container?key=hunter2", "azblob:// does not support: use domain, localemu, protocol, storage_account"},
		{"file://" + occupied, "is not a directory"},
	} {
		t.Run(tt.url, func(t *testing.T) {
			s, err := remote.OpenHasty(t.Context(), tt.url)
			if err == nil {
				ok(t, s.Close())
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q", err, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q contains a secret", err)
			}
		})
	}
}

// The service here is a fake: it records the requests, and refuses them.
func TestRequestsToGCSAndAzure(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.Header().Set("x-ms-error-code", "AuthorizationFailure")
		http.Error(w, `{"error": {"code": 403, "message": "in a test"}}`, http.StatusForbidden)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	t.Setenv("STORAGE_EMULATOR_HOST", host)
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_KEY", "aHVudGVyMg==")
	for url, want := range map[string]struct{ asked, says string }{
		"gs://bucket/some/prefix": {"GET /storage/v1/b/bucket/o", "GOOGLE_APPLICATION_CREDENTIALS"},
		"azblob://container/some/prefix?protocol=http&localemu=true&domain=" + host: {"GET /account/container", "AZURE_STORAGE_KEY"},
	} {
		t.Run(url, func(t *testing.T) {
			asked = nil
			_, err := remote.OpenHasty(t.Context(), url)
			if err == nil || !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), want.says) {
				t.Errorf("got %v", err)
			}
			if len(asked) != 1 || asked[0] != want.asked {
				t.Errorf("asked %q, want %q", asked, want.asked)
			}
		})
	}
}
