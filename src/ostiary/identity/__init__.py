"""Who somebody is: people by their OpenID provider."""
