package s3test_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/tenon-ml/tenon/internal/test/s3test"
)

// The server keeps what it is given, honours conditional writes, and refuses clients
// without its keys.
func TestServer(t *testing.T) {
	ctx := t.Context()
	s := s3test.Start(t)
	s.Bucket(t, "bucket")
	bucket, key := aws.String("bucket"), aws.String("a/b")
	put := &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader("one")}
	if _, err := s.Client().PutObject(ctx, put); err != nil {
		t.Fatal(err)
	}
	put.Body, put.IfNoneMatch = strings.NewReader("two"), aws.String("*")
	_, err := s.Client().PutObject(ctx, put)
	if api := smithy.APIError(nil); !errors.As(err, &api) || api.ErrorCode() != "PreconditionFailed" {
		t.Errorf("writing what is there: %v", err)
	}
	get := &s3.GetObjectInput{Bucket: bucket, Key: key}
	out, err := s.Client().GetObject(ctx, get)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Body.Close()
	if got, err := io.ReadAll(out.Body); err != nil || string(got) != "one" {
		t.Errorf("read %q, %v", got, err)
	}

	stranger := *s
	stranger.SecretKey = "wrong"
	if _, err := stranger.Client().GetObject(ctx, get); err == nil {
		t.Error("a stranger reads")
	}

	s.Stop()
	if err := s.Ready(); err == nil {
		t.Error("a server that was stopped answers")
	}
}
