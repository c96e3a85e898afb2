package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// forRegistry is the audience of tokens for container registries.
const forRegistry = "https://containerregistry.azure.net/.default"

// IsRegistry reports whether a host is a container registry of Azure.
func IsRegistry(host string) bool { return strings.HasSuffix(host, ".azurecr.io") }

// RegistryToken returns a token for a container registry of Azure, for the credentials that Azure's own tools find.
func RegistryToken(ctx context.Context, host string) (string, error) {
	c := newClient()
	defer c.plain.CloseIdleConnections()
	token, err := c.credentials.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{forRegistry}})
	if err == nil {
		var refresh string
		if refresh, err = exchange(ctx, c.plain, "https://"+host, token.Token); err == nil {
			return refresh, nil
		}
	}
	return "", explainCall("log in to "+host, err)
}

// exchange exchanges a token of Microsoft Entra for one of a registry, as `az acr login` does.
func exchange(ctx context.Context, plain *http.Client, registry, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	service := strings.TrimPrefix(registry, "https://")
	form := url.Values{"grant_type": {"access_token"}, "service": {service}, "access_token": {token}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, registry+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := plain.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if answer.StatusCode != http.StatusOK {
		return "", refused(answer.StatusCode, text)
	}
	var is struct {
		Token string `json:"refresh_token"`
	}
	if err := json.Unmarshal(text, &is); err != nil || is.Token == "" {
		return "", fmt.Errorf("%s answers no token", service)
	}
	return is.Token, nil
}
