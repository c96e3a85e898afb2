package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// A gcsBucket speaks the JSON API of Google Cloud Storage, see
// https://cloud.google.com/storage/docs/json_api/v1. Google's own client links gRPC,
// Envoy's API and OpenTelemetry, which doubled the size of tenon-pod.
type gcsBucket struct {
	client   *http.Client
	endpoint string // "https://storage.googleapis.com"
	name     string
	patience patience
}

func openGCS(ctx context.Context, s *Store, u *url.URL) (bucket, error) {
	anonymous, err := flag(u.Query(), "anonymous")
	if err != nil {
		return nil, err
	}
	base := transport(s.patience)
	b := &gcsBucket{
		client: &http.Client{
			Transport: base,
			// The response to part of an upload has the status of a redirect. Never send
			// credentials elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		endpoint: "https://storage.googleapis.com", name: u.Host, patience: s.patience,
	}
	if emulator := os.Getenv("STORAGE_EMULATOR_HOST"); emulator != "" {
		if !strings.Contains(emulator, "://") {
			emulator = "http://" + emulator
		}
		b.endpoint, anonymous = strings.TrimSuffix(emulator, "/"), true
	}
	if anonymous {
		return b, nil
	}
	tokens, err := gcsTokens(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: base}))
	if err != nil {
		return nil, err
	}
	b.client.Transport = &oauth2.Transport{Base: base, Source: tokens}
	return b, nil
}

// gcsTokens finds the application default credentials and fetches a token, so that bad
// credentials are reported once and not by every request.
func gcsTokens(ctx context.Context) (oauth2.TokenSource, error) {
	found, err := google.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		return nil, &refusal{"no credentials found: " + err.Error(), err}
	}
	if _, err := found.TokenSource.Token(); err != nil {
		if err = withoutQuery(err); temporary(err) {
			return nil, err
		}
		return nil, &refusal{"the credentials were rejected: " + err.Error(), err}
	}
	return found.TokenSource, nil
}

func (b *gcsBucket) Close() error {
	b.client.CloseIdleConnections()
	return nil
}

// A gcsStatus is an error response.
type gcsStatus struct {
	code    int
	message string
}

func (e *gcsStatus) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("%d %s: %s", e.code, http.StatusText(e.code), e.message), ": ")
}

// gcsAnswer returns nil for a success, and for 308, which means that an upload continues.
func gcsAnswer(r *http.Response) error {
	if r.StatusCode/100 == 2 || r.StatusCode == http.StatusPermanentRedirect {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return err
	}
	var is struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &is) != nil {
		is.Error.Message = strings.TrimSpace(string(text)) // some errors are plain text
	}
	return &gcsStatus{r.StatusCode, is.Error.Message}
}

func gcsError(err error) error {
	var status *gcsStatus
	var token *oauth2.RetrieveError
	switch {
	case errors.As(err, &status) && status.code == http.StatusNotFound:
		return absent(err)
	case errors.As(err, &status) && (status.code == http.StatusUnauthorized || status.code == http.StatusForbidden):
		return &refusal{status.message, err}
	case errors.As(err, &token) && !temporary(err):
		return &refusal{"the credentials were rejected: " + token.Error(), err}
	}
	return err
}

// temporary reports whether a failed request may succeed later.
func temporary(err error) bool {
	var status *gcsStatus
	var token *oauth2.RetrieveError
	var host *net.DNSError
	var certificate *tls.CertificateVerificationError
	code := http.StatusServiceUnavailable // for a failed connection
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, errWhole), errors.As(err, &certificate), errors.As(err, &host) && host.IsNotFound:
		return false
	case errors.As(err, &status):
		code = status.code
	case errors.As(err, &token):
		code = token.Response.StatusCode
	}
	return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}

// A gcsRequest is a request that may be repeated.
type gcsRequest struct {
	method string
	url    string
	header map[string]string
	body   []byte
}

// send sends a request once. The caller closes the body of the response.
func (b *gcsBucket) send(ctx context.Context, q gcsRequest) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, q.url, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	r.Header.Set("Accept-Encoding", "identity") // blobs without recompression
	r.Header.Set("User-Agent", "tenon")
	answer, err := b.client.Do(r)
	if err != nil {
		return nil, withoutQuery(err)
	}
	if err := gcsAnswer(answer); err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	return answer, nil
}

// try sends a request, and repeats it while its failure is temporary. done reads the
// response; if that fails, so does the request.
func (b *gcsBucket) try(ctx context.Context, q gcsRequest, done func(*http.Response) error) error {
	for tries := 1; ; tries++ {
		answer, err := b.send(ctx, q)
		if err == nil {
			if err = done(answer); err == nil {
				return nil
			}
		}
		if !temporary(err) || tries > b.patience.tries || ctx.Err() != nil {
			return gcsError(err)
		}
		if err := b.patience.wait(ctx, tries); err != nil {
			return err
		}
	}
}

// object sends a request and decodes its JSON response into to, unless to is nil.
func (b *gcsBucket) object(ctx context.Context, q gcsRequest, to any) error {
	return b.try(ctx, q, func(r *http.Response) error {
		text, err := io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil || to == nil {
			return err
		}
		return json.Unmarshal(text, to)
	})
}

// url returns the URL of the bucket's objects, or of one of them.
func (b *gcsBucket) url(key string, query url.Values) string {
	u := b.endpoint + "/storage/v1/b/" + url.PathEscape(b.name) + "/o"
	if key != "" {
		u += "/" + url.PathEscape(key)
	}
	return u + "?" + query.Encode()
}

func (b *gcsBucket) size(ctx context.Context, key string) (int64, error) {
	var object struct {
		Size int64 `json:"size,string"`
	}
	err := b.object(ctx, gcsRequest{method: http.MethodGet, url: b.url(key, url.Values{"fields": {"size"}})}, &object)
	return object.Size, err
}

func (b *gcsBucket) read(ctx context.Context, key string, offset int64) (body io.ReadCloser, size int64, err error) {
	q := gcsRequest{method: http.MethodGet, url: b.url(key, url.Values{"alt": {"media"}})}
	if offset > 0 {
		q.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-", offset)}
	}
	err = b.try(ctx, q, func(r *http.Response) error {
		if offset > 0 && r.StatusCode != http.StatusPartialContent {
			return errors.Join(errWhole, r.Body.Close())
		}
		body, size = r.Body, offset+r.ContentLength
		return nil
	})
	return body, size, err
}

func (b *gcsBucket) remove(ctx context.Context, key string) error {
	err := b.object(ctx, gcsRequest{method: http.MethodDelete, url: b.url(key, nil)}, nil)
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

func (b *gcsBucket) list(ctx context.Context, prefix string, page int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		q := url.Values{"prefix": {prefix}, "maxResults": {strconv.Itoa(page)}, "fields": {"items(name),nextPageToken"}}
		for {
			var found struct {
				Items []struct {
					Name string `json:"name"`
				} `json:"items"`
				Next string `json:"nextPageToken"`
			}
			if err := b.object(ctx, gcsRequest{method: http.MethodGet, url: b.url("", q)}, &found); err != nil {
				yield("", err)
				return
			}
			for _, o := range found.Items {
				if !yield(o.Name, nil) {
					return
				}
			}
			if found.Next == "" {
				return
			}
			q.Set("pageToken", found.Next)
		}
	}
}

// write sends a small blob in one request, a larger one in parts.
func (b *gcsBucket) write(ctx context.Context, key string, r io.Reader, _ int64) error {
	var part bytes.Buffer
	_, err := io.CopyN(&part, r, partSize)
	switch {
	case err == nil:
		return gcsError(b.writeParts(ctx, key, part.Bytes(), r))
	case errors.Is(err, io.EOF):
		return b.object(ctx, b.upload("media", key, "Content-Type", part.Bytes()), nil)
	}
	return err
}

// upload returns the request that begins an upload. The header declares the type of the
// blob, which for an upload in parts is not the type of this request's body.
func (b *gcsBucket) upload(kind, key, header string, body []byte) gcsRequest {
	return gcsRequest{
		method: http.MethodPost,
		url:    b.endpoint + "/upload/storage/v1/b/" + url.PathEscape(b.name) + "/o?" + url.Values{"uploadType": {kind}, "name": {key}}.Encode(),
		header: map[string]string{header: contentType}, body: body,
	}
}

// writeParts sends the full part, and then the rest of r. The blob appears with its last
// part.
func (b *gcsBucket) writeParts(ctx context.Context, key string, part []byte, r io.Reader) error {
	var session string
	err := b.try(ctx, b.upload("resumable", key, "X-Upload-Content-Type", nil), func(r *http.Response) error {
		session = r.Header.Get("Location")
		return r.Body.Close()
	})
	if err != nil {
		return err
	}
	if session == "" {
		return errors.New("the server started an upload without a location")
	}
	for from, last := int64(0), false; ; {
		if err = b.sendPart(ctx, session, part, from, last); err != nil || last {
			break
		}
		from += int64(len(part))
		var n int
		n, err = io.ReadFull(r, part)
		last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			break
		}
		part = part[:n]
	}
	if err != nil {
		b.cancel(ctx, session)
	}
	return err
}

// cancel lets the server drop the parts of an upload. Without it, the server drops them
// after a week.
func (b *gcsBucket) cancel(ctx context.Context, session string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), b.patience.stall)
	defer stop()
	if answer, err := b.send(ctx, gcsRequest{method: http.MethodDelete, url: session}); err == nil {
		_ = answer.Body.Close()
	}
}

// sendPart sends the part of an upload that begins at from. After a failure it asks how
// much has arrived, and sends the rest.
func (b *gcsBucket) sendPart(ctx context.Context, session string, part []byte, from int64, last bool) error {
	end, total := from+int64(len(part)), "*"
	if last {
		total = strconv.FormatInt(end, 10)
	}
	at, tries := from, 0
	for ask := false; ; {
		rest, span := part[at-from:], "*"
		if ask {
			rest = nil
		} else if len(rest) > 0 {
			span = fmt.Sprintf("%d-%d", at, end-1)
		}
		has, whole, err := b.sendSpan(ctx, session, "bytes "+span+"/"+total, rest)
		switch {
		case err != nil:
		case whole || has == end && !last:
			return nil
		case has < at || has > end:
			return fmt.Errorf("the server has %d bytes of an upload whose bytes %d to %d are being sent", has, at, end)
		case has > at:
			at, ask, tries = has, false, 0
			continue
		case ask: // nothing arrived
			ask = false
			continue
		default:
			err = errors.New("the server accepts no more data of an upload")
		}
		if tries++; !temporary(err) || tries > b.patience.tries || ctx.Err() != nil {
			return err
		}
		if err := b.patience.wait(ctx, tries); err != nil {
			return err
		}
		ask = true
	}
}

// sendSpan sends some bytes of an upload, or none to query its status. It returns how
// many bytes the server has, or that it has the whole blob.
func (b *gcsBucket) sendSpan(ctx context.Context, session, span string, body []byte) (has int64, whole bool, err error) {
	answer, err := b.send(ctx, gcsRequest{method: http.MethodPut, url: session, header: map[string]string{"Content-Range": span}, body: body})
	if err != nil {
		return 0, false, err
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, false, errors.Join(err, answer.Body.Close())
	}
	if answer.StatusCode != http.StatusPermanentRedirect {
		return 0, true, answer.Body.Close()
	}
	if kept := answer.Header.Get("Range"); kept != "" {
		_, end, _ := strings.Cut(kept, "-")
		if has, err = strconv.ParseInt(end, 10, 64); err != nil {
			err = fmt.Errorf("the server reports %q for an upload, which is not a byte range", kept)
		}
		has++
	}
	return has, false, errors.Join(err, answer.Body.Close())
}
