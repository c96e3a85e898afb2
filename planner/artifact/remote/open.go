package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
	"google.golang.org/api/googleapi"
)

// A patience is how long something is tried.
type patience struct {
	tries int           // after the first
	pause time.Duration // before the first of them; it doubles, up to longest
	stall time.Duration // without an answer
}

const longest = 20 * time.Second

// wait waits before a try, the first of which is 1.
func (p patience) wait(ctx context.Context, try int) error {
	select {
	case <-time.After(p.delay(try)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// delay is between half and all of the pause, so that many do not come at once.
func (p patience) delay(try int) time.Duration {
	d := min(p.pause<<min(try-1, 16), longest)
	return d/2 + rand.N(d/2+1)
}

// Open opens the store at a URL, and makes sure that it is there and may be
// read:
//
//	file:///folder
//	s3://bucket/prefix?region=...&endpoint=...&use_path_style=true
//	gs://bucket/prefix
//	azblob://container/prefix?storage_account=...
//
// Credentials are those that the service's own tools find.
func Open(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, patience{tries: 7, pause: time.Second, stall: time.Minute})
}

// Check tells what is wrong with the URL of a store, without asking anybody.
func Check(url string) error {
	_, _, err := parse(url)
	return err
}

func open(ctx context.Context, text string, p patience) (*Store, error) {
	u, service, err := parse(text)
	if err != nil {
		return nil, err
	}
	s := &Store{
		name: u.Scheme + "://" + u.Host + u.Path, way: service.way, patience: p, refused: service.refused,
		tune: func(func(any) bool) error { return nil },
	}
	if err := service.open(ctx, s, u); err != nil {
		if _, is := s.refused(err); is {
			return nil, s.explain("open", err)
		}
		return nil, fmt.Errorf("open the store %s: %w", s.name, err)
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" && u.Scheme != "file" {
		s.bucket = blob.PrefixedBucket(s.bucket, prefix+"/")
	}
	if s.upload == nil {
		s.upload = s.bucket.Upload
	}
	if _, _, err := s.bucket.ListPage(ctx, blob.FirstPageToken, 1, nil); s.missing(err) {
		return nil, errors.Join(fmt.Errorf("store %s: there is no %s %q: make it, or correct the URL", s.name, service.bucket, u.Host), s.Close())
	} else if err != nil {
		return nil, errors.Join(s.explain("list what is in it", err), s.Close())
	}
	return s, nil
}

// A service is a kind of store.
type service struct {
	bucket   string   // what it calls a bucket; "" for none
	settings []string // parameters of its URLs
	way      string   // out of a refusal
	open     func(ctx context.Context, s *Store, u *url.URL) error
	refused  func(error) (string, bool)
}

var services = map[string]service{
	"file": {
		way:  "who runs tenon, and in a cluster user 65532, has to be allowed to read and write that folder and what is in it: `chgrp -R 65532 FOLDER && chmod -R g+rwXs FOLDER` lets that group",
		open: openFile, refused: refusedFile,
	},
	"s3": {
		bucket: "bucket",
		settings: []string{
			"anonymous", "dualstack", "endpoint", "fips", "kmskeyid", "profile", "region", "request_checksum_calculation", "role",
			"ssetype", "use_path_style",
		},
		way:  "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (for pods in the Secret that the target names as store_secret), to who may list, get, put and delete there; the endpoint and the region are in the URL",
		open: openS3, refused: refusedS3,
	},
	"gs": {
		bucket: "bucket", settings: []string{"anonymous"},
		way:  "set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account that may list, get, create and delete objects there, or run gcloud auth application-default login",
		open: openGCS, refused: refusedGCS,
	},
	"azblob": {
		bucket: "container", settings: []string{"domain", "localemu", "protocol", "storage_account"},
		way:  "set AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or what az login sets, to who may list, read, write and delete blobs there",
		open: openAzure, refused: refusedAzure,
	},
}

// parse looks at all of a URL that can be wrong without asking anybody.
func parse(text string) (*url.URL, service, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error quotes the URL, which may hold a password.
		return nil, service{}, errors.New("the URL of the store cannot be read: want " + forms)
	}
	if u.User != nil {
		return nil, service{}, fmt.Errorf("the URL of the store %s://%s holds credentials: leave them out; they are taken from the environment", u.Scheme, u.Host)
	}
	x, ok := services[u.Scheme]
	if !ok {
		return nil, x, fmt.Errorf("the URL of the store %q is of no kind that is known: want %s", u.Redacted(), forms)
	}
	if u.Opaque != "" || u.Fragment != "" || x.bucket != "" && u.Host == "" || x.bucket == "" && (u.Host != "" || u.Path == "") {
		return nil, x, fmt.Errorf("the URL of the store %q is not whole: want %s", u.Redacted(), forms)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, x, fmt.Errorf("the settings in the URL of the store %s://%s cannot be read: want name=value with & between them", u.Scheme, u.Host)
	}
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if !slices.Contains(x.settings, name) {
			known := "it has none"
			if len(x.settings) > 0 {
				known = "there are " + strings.Join(x.settings, ", ")
			}
			return nil, x, fmt.Errorf("the URL of the store has the setting %q, which %s:// does not know: %s", name, u.Scheme, known)
		}
		if len(q[name]) > 1 || q.Get(name) == "" {
			return nil, x, fmt.Errorf("the URL of the store needs one value for the setting %q", name)
		}
	}
	if p := strings.TrimSuffix(u.Path, "/"); p != "" && path.Clean(p) != p {
		return nil, x, fmt.Errorf("the URL of the store has the path %q: write it without empty, . and .. parts", u.Path)
	} else if p != "" {
		u.Path = p
	}
	return u, x, nil
}

const forms = "file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azblob://CONTAINER/PREFIX"

func openFile(_ context.Context, s *Store, u *url.URL) (err error) {
	dir := filepath.FromSlash(u.Path)
	if err := makeFolder(dir); err != nil {
		return err
	}
	if s.bucket, err = fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, Metadata: fileblob.MetadataDontWrite}); err != nil {
		return err
	}
	s.tune = func(as func(any) bool) error {
		var f *os.File
		if !as(&f) {
			return nil
		}
		mode, err := shared(filepath.Dir(f.Name()))
		if err != nil || mode == 0 {
			return err
		}
		return f.Chmod(mode.Perm() & 0o666)
	}
	s.upload = func(ctx context.Context, key string, r io.Reader, o *blob.WriterOptions) error {
		at := filepath.Join(dir, filepath.FromSlash(key))
		if err := makeFolder(filepath.Dir(at)); err != nil {
			return err
		}
		if err := writeFile(ctx, s.bucket, key, r, o); err != nil {
			return err
		}
		for range 3 { // the file, its name, and that of its folder
			if err := syncPath(at); err != nil {
				return err
			}
			at = filepath.Dir(at)
		}
		return nil
	}
	return nil
}

// makeFolder makes a folder, unless it is there, and those that it is in. It has the
// rights of the one that it is in where that is shared, whatever the umask: another
// user would not get into it otherwise. Else the umask decides.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeFolder(parent); err != nil {
		return err
	}
	mode, err := shared(parent)
	if err != nil {
		return err
	}
	if mode == 0 {
		if err := os.Mkdir(dir, 0o777); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	}
	// Nobody finds it before it is as it has to be.
	tmp, err := os.MkdirTemp(parent, "*.tmp")
	if err != nil {
		return err
	}
	if err = os.Chmod(tmp, mode); err == nil {
		err = os.Rename(tmp, dir)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, os.Remove(tmp))
	if _, there := os.Stat(dir); there == nil { // somebody was faster
		return nil
	}
	return err
}

// shared is the mode that a folder hands on to what is made in it. It is 0 where it
// hands on nothing: only its owner may write to it, or everybody to what is their
// own, as in /tmp.
func shared(dir string) (fs.FileMode, error) {
	info, err := os.Stat(dir)
	if err != nil || info.Mode()&0o022 == 0 || info.Mode()&fs.ModeSticky != 0 {
		return 0, err
	}
	return info.Mode() & (fs.ModePerm | fs.ModeSetgid), nil
}

// writeFile does what Upload does, which stores what it has when the disk is full.
func writeFile(ctx context.Context, b *blob.Bucket, key string, r io.Reader, o *blob.WriterOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := b.NewWriter(ctx, key, o)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, r); err != nil {
		cancel()
		_ = w.Close() // removes it
		return err
	}
	return w.Close()
}

func refusedFile(err error) (string, bool) {
	return err.Error(), errors.Is(err, os.ErrPermission)
}

func openS3(ctx context.Context, s *Store, u *url.URL) error {
	q := u.Query()
	take := func(name string) string { v := q.Get(name); q.Del(name); return v }
	endpoint, err := endpointOf(take("endpoint"))
	if err != nil {
		return err
	}
	if endpoint != "" {
		s.way += " (asked: " + endpoint + ")"
	}
	pathStyle := take("use_path_style")
	if pathStyle != "" && pathStyle != "true" && pathStyle != "false" {
		return fmt.Errorf("use_path_style is %q: want true or false", pathStyle)
	}
	var options s3blob.Options
	if sse := take("ssetype"); sse != "" {
		if options.EncryptionType = types.ServerSideEncryption(sse); !slices.Contains(options.EncryptionType.Values(), options.EncryptionType) {
			return fmt.Errorf("ssetype is %q: want one of %v", sse, options.EncryptionType.Values())
		}
	}
	options.KMSEncryptionID = take("kmskeyid")
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return err
	}
	if cfg.Region == "" {
		return errors.New("it has no region: add region=... to its URL, or set AWS_REGION; servers that have none take us-east-1")
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil && u.Query().Get("anonymous") != "true" {
		return &RefusedError{Store: s.name, What: "open", Why: "no credentials were found: " + err.Error(), Way: s.way, err: err}
	}
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.RateLimiter = 1+s.patience.tries, ratelimit.None
			o.Backoff = retry.BackoffDelayerFunc(func(try int, _ error) (time.Duration, error) { return s.patience.delay(try), nil })
		})
	}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = c.WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = 5 * s.patience.stall // putting many parts together takes its time
		})
	}
	// Digests are compared here, and they say more.
	cfg.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = pathStyle == "true"
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
	options.RequestChecksumCalculation = cfg.RequestChecksumCalculation
	s.tune = func(as func(any) bool) error {
		var tm *transfermanager.Client
		if as(&tm) {
			*tm = *transfermanager.New(client, func(o *transfermanager.Options) {
				o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = partSize, partSize, partsOfOne
				o.RequestChecksumCalculation = cfg.RequestChecksumCalculation
				// Parts of what was given up are removed, even if tenon was told to stop.
				o.FailTimeout = s.patience.stall
			})
		}
		return nil
	}
	s.bucket, err = s3blob.OpenBucket(ctx, client, u.Host, &options)
	return err
}

func endpointOf(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("its endpoint cannot be read: want http://HOST:PORT or https://HOST:PORT")
	}
	if u.User != nil {
		return "", fmt.Errorf("its endpoint %s://%s holds credentials: leave them out; they are taken from the environment", u.Scheme, u.Host)
	}
	return text, nil
}

// refusedS3 knows the codes of S3, see ErrorResponses in its API reference, and the
// one that versitygw has for a key that it does not know.
func refusedS3(err error) (string, bool) {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "AccessDenied", "AccountProblem", "AllAccessDisabled", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidSecurity",
			"InvalidToken", "NotSignedUp", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired", "UnauthorizedAccess",
			"XAdminUserNotFound":
			return strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": "), true
		}
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) && (response.HTTPStatusCode() == http.StatusForbidden || response.HTTPStatusCode() == http.StatusUnauthorized) {
		return http.StatusText(response.HTTPStatusCode()), true
	}
	return "", false
}

func openGCS(ctx context.Context, s *Store, u *url.URL) error {
	client := gcp.NewAnonymousHTTPClient(gcp.DefaultTransport())
	if u.Query().Get("anonymous") != "true" && os.Getenv("STORAGE_EMULATOR_HOST") == "" {
		creds, err := gcp.DefaultCredentials(ctx)
		if err != nil {
			return fmt.Errorf("%w\n  %s", err, s.way)
		}
		if client, err = gcp.NewHTTPClient(gcp.DefaultTransport(), gcp.CredentialsTokenSource(creds)); err != nil {
			return err
		}
	}
	var err error
	s.bucket, err = gcsblob.OpenBucket(ctx, client, u.Host, nil)
	return err
}

func refusedGCS(err error) (string, bool) {
	var api *googleapi.Error
	if errors.As(err, &api) && (api.Code == http.StatusForbidden || api.Code == http.StatusUnauthorized) {
		return api.Message, true
	}
	return "", false
}

func openAzure(ctx context.Context, s *Store, u *url.URL) (err error) {
	opener := azureblob.URLOpener{MakeClient: azureblob.NewDefaultClient, ServiceURLOptions: *azureblob.NewDefaultServiceURLOptions()}
	s.bucket, err = opener.OpenBucketURL(ctx, u)
	return err
}

func refusedAzure(err error) (string, bool) {
	var api *azcore.ResponseError
	if errors.As(err, &api) && (api.StatusCode == http.StatusForbidden || api.StatusCode == http.StatusUnauthorized) {
		return api.ErrorCode, true
	}
	return "", gcerrors.Code(err) == gcerrors.PermissionDenied
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
