package remote

import (
	"context"
	"time"
)

// OpenHasty opens a store that gives up soon.
func OpenHasty(ctx context.Context, url string) (*Store, error) {
	return open(ctx, url, patience{tries: 3, pause: time.Millisecond, stall: time.Second}, false)
}

// PartSize is how many bytes are sent at once.
const PartSize = partSize

// PutAs stores a file under a digest that may not be its own.
func (s *Store) PutAs(ctx context.Context, digest, path string, size int64) error {
	return s.putFile(ctx, path, digest, size)
}

// GoogleToken returns the token that a store on Google Cloud Storage sends.
func GoogleToken(ctx context.Context) (string, error) {
	tokens, err := gcsTokens(ctx)
	if err != nil {
		s := &Store{name: "gs://bucket", remedy: services["gs"].remedy}
		return "", s.explain("open", err)
	}
	token, err := tokens.Token()
	if err != nil {
		return "", err
	}
	return token.AccessToken, nil
}
