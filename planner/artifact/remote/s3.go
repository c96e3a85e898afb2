package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	tmtypes "github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

type s3Bucket struct {
	client     *s3.Client
	name       string
	stall      time.Duration
	checksums  aws.RequestChecksumCalculation
	encryption types.ServerSideEncryption
	kmsKey     string
}

var s3Settings = []string{
	"anonymous", "dualstack", "endpoint", "fips", "kmskeyid", "profile", "region", "request_checksum_calculation", "role",
	"ssetype", "use_path_style",
}

func openS3(ctx context.Context, s *Store, u *url.URL) (bucket, error) {
	q := u.Query()
	endpoint, err := endpointOf(q.Get("endpoint"))
	if err != nil {
		return nil, err
	}
	if endpoint != "" {
		s.remedy += " (asked: " + endpoint + ")"
	}
	pathStyle, err := flag(q, "use_path_style")
	if err != nil {
		return nil, err
	}
	b := &s3Bucket{name: u.Host, stall: s.patience.stall, encryption: types.ServerSideEncryption(q.Get("ssetype")), kmsKey: q.Get("kmskeyid")}
	if b.encryption != "" && !slices.Contains(b.encryption.Values(), b.encryption) {
		return nil, fmt.Errorf("ssetype is %q: want one of %v", b.encryption, b.encryption.Values())
	}
	cfg, err := s3Config(ctx, q)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, errors.New("no region: add region=... to the URL, or set AWS_REGION; for servers without regions use us-east-1")
	}
	if anonymous, _ := flag(q, "anonymous"); !anonymous {
		if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
			return nil, &refusal{"no credentials found: " + err.Error(), err}
		}
	}
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.RateLimiter = 1+s.patience.tries, ratelimit.None
			o.Backoff = retry.BackoffDelayerFunc(func(try int, _ error) (time.Duration, error) { return s.patience.delay(try), nil })
		})
	}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		cfg.HTTPClient = c.WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout = 5 * s.patience.stall // a server needs time to assemble many parts
		})
	}
	// The store compares digests itself.
	cfg.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	b.checksums = cfg.RequestChecksumCalculation
	b.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = pathStyle
		if endpoint != "" {
			o.BaseEndpoint = aws.String(endpoint)
		}
	})
	return b, nil
}

// s3Config returns the configuration that the AWS command line would use, with the
// settings of a URL.
func s3Config(ctx context.Context, q url.Values) (aws.Config, error) {
	opts := []func(*config.LoadOptions) error{config.WithRegion(q.Get("region")), config.WithSharedConfigProfile(q.Get("profile"))}
	for name, option := range map[string]func(*config.LoadOptions) error{
		"anonymous": config.WithCredentialsProvider(aws.AnonymousCredentials{}),
		"dualstack": config.WithUseDualStackEndpoint(aws.DualStackEndpointStateEnabled),
		"fips":      config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled),
	} {
		on, err := flag(q, name)
		if err != nil {
			return aws.Config{}, err
		}
		if on {
			opts = append(opts, option)
		}
	}
	switch sums := q.Get("request_checksum_calculation"); sums {
	case "":
	case "when_supported":
		opts = append(opts, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenSupported))
	case "when_required":
		opts = append(opts, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired))
	default:
		return aws.Config{}, fmt.Errorf("request_checksum_calculation is %q: want when_supported or when_required", sums)
	}
	cfg, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return cfg, err
	}
	if role := q.Get("role"); role != "" {
		if !strings.HasPrefix(role, "arn:") {
			return cfg, fmt.Errorf("role is %q: want its ARN, like arn:aws:iam::123456789012:role/NAME", role)
		}
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role))
	}
	return cfg, nil
}

func flag(q url.Values, name string) (bool, error) {
	if !q.Has(name) {
		return false, nil
	}
	on, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, fmt.Errorf("%s is %q: want true or false", name, q.Get(name))
	}
	return on, nil
}

func endpointOf(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("invalid endpoint: use http://HOST:PORT or https://HOST:PORT")
	}
	if u.User != nil {
		return "", fmt.Errorf("the endpoint %s://%s contains credentials: remove them and set them in the environment", u.Scheme, u.Host)
	}
	return text, nil
}

// s3Error maps the error codes of S3, see ErrorResponses in its API reference, and the
// one that versitygw returns for an unknown key.
func s3Error(err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchBucket", "NoSuchKey", "NotFound":
			return absent(err)
		case "AccessDenied", "AccountProblem", "AllAccessDisabled", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "InvalidSecurity",
			"InvalidToken", "NotSignedUp", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired", "UnauthorizedAccess",
			"XAdminUserNotFound":
			return &refusal{strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": "), err}
		}
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		switch status := response.HTTPStatusCode(); status {
		case http.StatusForbidden, http.StatusUnauthorized:
			return &refusal{http.StatusText(status), err}
		case http.StatusNotFound, http.StatusMovedPermanently:
			if api == nil {
				return absent(err)
			}
		}
	}
	return err
}

func (b *s3Bucket) size(ctx context.Context, key string) (int64, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return 0, s3Error(err)
	}
	return aws.ToInt64(out.ContentLength), nil
}

func (b *s3Bucket) read(ctx context.Context, key string, offset int64) (io.ReadCloser, int64, error) {
	in := &s3.GetObjectInput{Bucket: &b.name, Key: &key}
	if offset > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, 0, s3Error(err)
	}
	if offset > 0 && out.ContentRange == nil {
		return nil, 0, errors.Join(errWhole, out.Body.Close())
	}
	return out.Body, offset + aws.ToInt64(out.ContentLength), nil
}

func (b *s3Bucket) write(ctx context.Context, key string, r io.Reader, size int64) error {
	part := max(partSize, size/maxParts+1)
	manager := transfermanager.New(s3Uploads{b.client, b.stall}, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = part, part, partsOfOne
		o.RequestChecksumCalculation = b.checksums
		// Remove the parts of a failed upload, even if tenon was asked to stop.
		o.FailTimeout = b.stall
	})
	in := &transfermanager.UploadObjectInput{
		Bucket: &b.name, Key: &key, Body: r, ContentType: aws.String(contentType), ServerSideEncryption: tmtypes.ServerSideEncryption(b.encryption),
	}
	if b.kmsKey != "" {
		in.SSEKMSKeyID = &b.kmsKey
	}
	_, err := manager.UploadObject(ctx, in)
	return s3Error(err)
}

// s3Uploads is a client that does not give up a request to begin an upload when the caller
// does: without the response, nobody could remove the upload.
type s3Uploads struct {
	*s3.Client
	stall time.Duration
}

func (c s3Uploads) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput, options ...func(*s3.Options)) (*s3.CreateMultipartUploadOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	request, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(c.stall, cancel) })()
	return c.Client.CreateMultipartUpload(request, in, options...)
}

func (b *s3Bucket) remove(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &key})
	if err = s3Error(err); errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

func (b *s3Bucket) list(ctx context.Context, prefix string, page int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &prefix, MaxKeys: aws.Int32(int32(page))})
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			if err != nil {
				yield("", s3Error(err))
				return
			}
			for _, o := range out.Contents {
				if !yield(aws.ToString(o.Key), nil) {
					return
				}
			}
		}
	}
}
