package s3test_test

import (
	"testing"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/tenon-ml/tenon/internal/test/s3test"
)

// An S3 server keeps what it is given, writes what is there only if it is asked to,
// and serves none but who has its keys.
func TestServer(t *testing.T) {
	ctx := t.Context()
	s := s3test.Start(t)
	s.Setenv(t)
	url := s.Bucket(t, "bucket")
	b, err := blob.OpenBucket(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()

	if err := b.WriteAll(ctx, "a/b", []byte("one"), nil); err != nil {
		t.Fatal(err)
	}
	err = b.WriteAll(ctx, "a/b", []byte("two"), &blob.WriterOptions{IfNotExist: true})
	if gcerrors.Code(err) != gcerrors.FailedPrecondition {
		t.Errorf("writing what is there: %v", err)
	}
	if got, err := b.ReadAll(ctx, "a/b"); err != nil || string(got) != "one" {
		t.Errorf("read %q, %v", got, err)
	}

	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	stranger, err := blob.OpenBucket(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.ReadAll(ctx, "a/b"); err == nil {
		t.Error("a stranger reads")
	}

	s.Stop()
	if err := s.Ready(); err == nil {
		t.Error("a server that was stopped answers")
	}
}
