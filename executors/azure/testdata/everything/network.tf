# Written by `tenon compile --format=terraform`, which replaces this file.

resource "azurerm_virtual_network" "closed" {
  name                = "tenon-flights-prod"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  address_space       = ["10.40.0.0/24"]
}

resource "azurerm_subnet" "closed" {
  name                 = "closed"
  resource_group_name  = local.group
  virtual_network_name = azurerm_virtual_network.closed.name
  address_prefixes     = ["10.40.0.0/24"]
  delegation {
    name = "environments"
    service_delegation {
      name    = "Microsoft.App/environments"
      actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
    }
  }
}

resource "azurerm_network_security_group" "closed" {
  name                = "tenon-flights-prod"
  resource_group_name = local.group
  location            = var.location
  tags                = local.tags
  security_rule {
    name                       = "AzureActiveDirectory"
    priority                   = 100
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "AzureActiveDirectory"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "AzureContainerRegistry"
    priority                   = 110
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "AzureContainerRegistry"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "AzureFrontDoor.FirstParty"
    priority                   = 120
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "AzureFrontDoor.FirstParty"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "AzureKeyVault"
    priority                   = 130
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "AzureKeyVault"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "AzureMonitor"
    priority                   = 140
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "AzureMonitor"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "MicrosoftContainerRegistry"
    priority                   = 150
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "MicrosoftContainerRegistry"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "Storage"
    priority                   = 160
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "Storage"
    destination_port_range     = "443"
  }
  security_rule {
    name                       = "Names"
    priority                   = 200
    direction                  = "Outbound"
    access                     = "Allow"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "168.63.129.16/32"
    destination_port_range     = "53"
  }
  security_rule {
    name                       = "Internet"
    priority                   = 300
    direction                  = "Outbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "Internet"
    destination_port_range     = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "closed" {
  subnet_id                 = azurerm_subnet.closed.id
  network_security_group_id = azurerm_network_security_group.closed.id
}
