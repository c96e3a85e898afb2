package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

type azureBucket struct {
	client *container.Client
	http   azureTransport
}

func openAzure(_ context.Context, s *Store, u *url.URL) (bucket, error) {
	b := &azureBucket{http: azureTransport{&http.Client{Transport: transport(s.patience)}}}
	options := &container.ClientOptions{}
	options.Transport = b.http
	options.Retry = policy.RetryOptions{MaxRetries: int32(s.patience.tries), RetryDelay: s.patience.pause, MaxRetryDelay: longest}
	options.Telemetry.ApplicationID = "tenon"
	var err error
	b.client, err = azureClient(u.Host, u.Query(), options)
	return b, err
}

// azureClient takes the credentials from the environment: an account and its key, a
// SAS token, a connection string, or what Azure's SDK finds.
func azureClient(name string, q url.Values, options *container.ClientOptions) (*container.Client, error) {
	account, key, sas := os.Getenv("AZURE_STORAGE_ACCOUNT"), os.Getenv("AZURE_STORAGE_KEY"), os.Getenv("AZURE_STORAGE_SAS_TOKEN")
	connection := cmp.Or(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"), os.Getenv("AZURE_STORAGEBLOB_CONNECTIONSTRING"))
	if connection != "" && sas == "" && (account == "" || key == "") {
		return container.NewClientFromConnectionString(connection, name, options)
	}
	address, err := azureAddress(cmp.Or(q.Get("storage_account"), account), q)
	if err != nil {
		return nil, err
	}
	address += "/" + name
	switch {
	case account != "" && key != "":
		shared, err := container.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, errors.New("AZURE_STORAGE_KEY is not a key: use the base64 text that Azure shows") // the error quotes it
		}
		return container.NewClientWithSharedKeyCredential(address, shared, options)
	case sas != "":
		return container.NewClientWithNoCredential(address+"?"+strings.TrimPrefix(sas, "?"), options)
	}
	found, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(address, found, options)
}

// azureAddress returns the address of an account. Settings missing from the URL come from
// the environment.
func azureAddress(account string, q url.Values) (string, error) {
	if account == "" {
		return "", errors.New("no account: add storage_account=... to the URL, or set AZURE_STORAGE_ACCOUNT")
	}
	domain := cmp.Or(q.Get("domain"), os.Getenv("AZURE_STORAGE_DOMAIN"), "blob.core.windows.net")
	protocol := cmp.Or(q.Get("protocol"), os.Getenv("AZURE_STORAGE_PROTOCOL"), "https")
	if protocol != "http" && protocol != "https" {
		return "", fmt.Errorf("protocol is %q: want http or https", protocol)
	}
	emulator, err := flag(q, "localemu")
	if err != nil {
		return "", err
	}
	if !q.Has("localemu") {
		emulator, _ = strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_LOCAL_EMULATOR"))
	}
	cdn, _ := strconv.ParseBool(os.Getenv("AZURE_STORAGE_IS_CDN"))
	switch {
	case emulator, strings.HasPrefix(domain, "127.0.0.1"), strings.HasPrefix(domain, "localhost"):
		return protocol + "://" + domain + "/" + account, nil
	case cdn:
		return protocol + "://" + domain, nil
	}
	return protocol + "://" + account + "." + domain, nil
}

// An azureTransport keeps SAS tokens, which are in the query of a URL, out of errors.
type azureTransport struct{ *http.Client }

func (t azureTransport) Do(r *http.Request) (*http.Response, error) {
	answer, err := t.Client.Do(r)
	if err != nil {
		return nil, withoutQuery(err)
	}
	return answer, nil
}

func (b *azureBucket) Close() error {
	b.http.CloseIdleConnections()
	return nil
}

func azureError(err error) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return absent(err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return &refusal{cmp.Or(answer.ErrorCode, http.StatusText(answer.StatusCode)), err}
	}
	return err
}

func (b *azureBucket) size(ctx context.Context, key string) (int64, error) {
	is, err := b.client.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil {
		return 0, azureError(err)
	}
	return *is.ContentLength, nil
}

func (b *azureBucket) read(ctx context.Context, key string, offset int64) (io.ReadCloser, int64, error) {
	answer, err := b.client.NewBlobClient(key).DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: offset}})
	if err != nil {
		return nil, 0, azureError(err)
	}
	if offset > 0 && answer.ContentRange == nil {
		return nil, 0, errors.Join(errWhole, answer.Body.Close())
	}
	return answer.Body, offset + *answer.ContentLength, nil
}

func (b *azureBucket) write(ctx context.Context, key string, r io.Reader, size int64) error {
	kind := contentType
	_, err := b.client.NewBlockBlobClient(key).UploadStream(ctx, r, &blockblob.UploadStreamOptions{
		BlockSize: max(partSize, size/maxParts+1), Concurrency: partsOfOne, HTTPHeaders: &blob.HTTPHeaders{BlobContentType: &kind},
	})
	return azureError(err)
}

func (b *azureBucket) remove(ctx context.Context, key string) error {
	_, err := b.client.NewBlobClient(key).Delete(ctx, nil)
	if err = azureError(err); errors.Is(err, errAbsent) {
		return nil
	}
	return err
}

func (b *azureBucket) list(ctx context.Context, prefix string, page int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		most := int32(page)
		for pages := b.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, MaxResults: &most}); pages.More(); {
			found, err := pages.NextPage(ctx)
			if err != nil {
				yield("", azureError(err))
				return
			}
			for _, o := range found.Segment.BlobItems {
				if !yield(*o.Name, nil) {
					return
				}
			}
		}
	}
}
