package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/tenon-ml/tenon/planner/artifact"
)

// brief is the patience for an object that a user waits for.
var brief = patience{tries: 2, pause: time.Second, stall: 20 * time.Second}

// Object returns the object at a URL in a bucket, of at most that many bytes: the last part of its path is the name of the
// object. The URL has the form of that of a store, and no other object is read or listed.
func Object(ctx context.Context, url string, most int64) ([]byte, error) {
	u, service, err := parse(url)
	if err != nil {
		return nil, err
	}
	dir, key := path.Split(u.Path)
	if service.bucket == "" || key == "" {
		return nil, fmt.Errorf("%s names no object in a bucket: use s3://BUCKET/OBJECT, gs://BUCKET/OBJECT or azblob://CONTAINER/OBJECT", u.Redacted())
	}
	u.Path = dir
	s := newStore(u, service, brief)
	s.remedy = "set the credentials of the service to some that may read this object; settings such as region=... are in the URL"
	if s.bucket, err = service.open(ctx, s, u); err != nil {
		return nil, s.explain("open", err)
	}
	out := &limited{most: most}
	err = errors.Join(s.read(ctx, key, key, out), s.Close())
	if errors.Is(err, artifact.ErrMissing) {
		return nil, fmt.Errorf("there is no %s in %s", key, s)
	}
	return out.Bytes(), err
}

// A limited buffer takes a number of bytes, and no more.
type limited struct {
	bytes.Buffer
	most int64
}

func (l *limited) Write(b []byte) (int, error) {
	if int64(l.Len()+len(b)) > l.most {
		return 0, fmt.Errorf("it has more than %d MiB", l.most>>20)
	}
	return l.Buffer.Write(b)
}
