//! The words in which sections and closed sets of words are declared, so that each key is written down once.

/// Declares a section: a struct whose comments, types, defaults and examples are all there is to say about its keys.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident $(as $key:literal)? : $type:ty $(= $default:literal)?, $example:literal; )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $type, )* }

        impl $crate::config::setting::Setting for $name {
            fn kind() -> $crate::config::setting::Kind {
                $crate::config::setting::Kind::Section(vec![$(
                    $crate::config::setting::Field {
                        name: $crate::config::setting::section!(@key $field $($key)?),
                        about: &[$($doc),+],
                        required: <$type as $crate::config::setting::Setting>::REQUIRED,
                        kind: <$type as $crate::config::setting::Setting>::kind(),
                        default: $crate::config::setting::section!(@default $($default)?),
                        example: $example,
                    },
                )*])
            }

            fn read(
                node: &$crate::config::tree::Node,
                reading: &mut $crate::config::setting::Reading,
            ) -> Option<Self> {
                const KNOWN: &[&str] = &[$( $crate::config::setting::section!(@key $field $($key)?) ),*];
                reading.section(node, KNOWN)?;
                $( let $field = reading.field::<$type>(
                    node,
                    $crate::config::setting::section!(@key $field $($key)?),
                    <$type as $crate::config::setting::Setting>::REQUIRED,
                    $example,
                ); )*
                Some(Self { $( $field: $field? ),* })
            }

            fn absent() -> Option<Self> {
                Some(Self { $( $field: <$type as $crate::config::setting::Setting>::absent()? ),* })
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

/// Declares a closed set of words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal $(| $alias:literal)* ; )+ }
        $( not yet { $( $(#[doc = $refused_doc:literal])+ $refused:literal : $why:literal ; )+ } )?
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// Returns its word.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn kind() -> $crate::config::setting::Kind {
                $crate::config::setting::Kind::Choice(&[
                    $( $crate::config::setting::Choice {
                        name: $word, about: &[$($doc),+], aliases: &[$($alias),*], refused: None,
                    }, )+
                    $( $( $crate::config::setting::Choice {
                        name: $refused, about: &[$($refused_doc),+], aliases: &[], refused: Some($why),
                    }, )+ )?
                ])
            }

            fn read(
                node: &$crate::config::tree::Node,
                reading: &mut $crate::config::setting::Reading,
            ) -> Option<Self> {
                let word = reading.choice(node, &Self::kind())?;
                match word { $( $word => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

pub(crate) use {choice, section};
