//! The attributes of the vat SDK. Use them through the `vat` crate: `#[vat::exo]` on an `impl` block makes a type an
//! object that other vats can send to, `#[vat::root]` on a function makes a crate a vat.

mod interface;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, FnArg, ImplItem, ImplItemFn, ItemFn, ItemImpl, Result, ReturnType, Type, Visibility, parse_macro_input,
    spanned::Spanned,
};

/// Makes every `pub` method of an `impl` block callable by message.
///
/// `make_purse` answers to `makePurse`. Arguments are converted with `FromValue`; one that does not fit is answered
/// with a rejection. An `async` method is answered when it ends. Methods that are not `pub` stay local, and so do functions
/// without `self`.
///
/// The methods, their arguments, answers and doc comments are written into the module, in the custom section
/// `vathost.interface`: `vathost check --interface` prints them, `vathost call` checks messages by them.
#[proc_macro_attribute]
pub fn exo(_attr: TokenStream, item: TokenStream) -> TokenStream {
    let block = parse_macro_input!(item as ItemImpl);
    expand_exo(&block).unwrap_or_else(Error::into_compile_error).into()
}

/// Marks the function which builds the vat's root object from its parameters.
///
/// It takes the parameters as any type that is `FromValue`, or nothing; it returns the root object, or a `Result` of one.
/// If it fails, the vat does not start.
#[proc_macro_attribute]
pub fn root(_attr: TokenStream, item: TokenStream) -> TokenStream {
    let build = parse_macro_input!(item as ItemFn);
    expand_root(&build).unwrap_or_else(Error::into_compile_error).into()
}

fn expand_exo(block: &ItemImpl) -> Result<Tokens> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(path, "#[vat::exo] goes on an inherent impl block"));
    }
    let name = type_name(&block.self_ty)?;
    // An error in one method is reported at that method, and the others are expanded all the same: one mistake is one error.
    let methods = || block.items.iter().filter_map(exposed_method);
    let names: Vec<_> = methods().map(|it| camel_case(&it.sig.ident.to_string())).collect();
    let arms = methods().map(|method| arm(&block.self_ty, method));
    let (arms, errors): (Vec<_>, Vec<_>) = arms.partition(Result::is_ok);
    let arms: Vec<_> = arms.into_iter().flatten().collect();
    let errors: Vec<_> = errors.into_iter().filter_map(Result::err).map(Error::into_compile_error).collect();
    let (ty, (generics, _, bounds)) = (&block.self_ty, block.generics.split_for_impl());
    let interface = interface::of_exo(&name, &block.attrs, methods());
    Ok(quote! {
        #(#errors)*

        #interface

        #[allow(unreachable_pub, reason = "`pub` is what makes a method callable by message")]
        #block

        impl #generics ::vat::Exo for #ty #bounds {
            fn interface(&self) -> &'static str {
                #name
            }

            fn dispatch(
                self: ::vat::Rc<Self>,
                method: &str,
                args: &mut ::vat::Args,
            ) -> ::core::result::Result<::vat::Reply, ::vat::Error> {
                match method {
                    #(#arms)*
                    _ => ::core::result::Result::Err(::vat::Error::no_method_of(method, &[#(#names),*])),
                }
            }
        }
    })
}

/// The last segment of the type's path: what the object is called in messages (`$0.Alleged: Bank`).
fn type_name(ty: &Type) -> Result<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
        _ => None,
    }
    .ok_or_else(|| Error::new_spanned(ty, "#[vat::exo] needs a named type"))
}

fn exposed_method(item: &ImplItem) -> Option<&ImplItemFn> {
    match item {
        ImplItem::Fn(f) if matches!(f.vis, Visibility::Public(_)) && f.sig.receiver().is_some() => Some(f),
        _ => None,
    }
}

/// The match arm which takes one method's arguments out of the message and calls it.
fn arm(ty: &Type, method: &ImplItemFn) -> Result<Tokens> {
    let receiver = method.sig.receiver().into_iter().next();
    let by_rc = receiver.is_some_and(|r| r.colon_token.is_some());
    if let Some(r) = receiver
        && !by_rc
        && (r.reference.is_none() || r.mutability.is_some())
    {
        return Err(Error::new_spanned(
            r,
            "a method of an exo takes `&self` or `self: Rc<Self>`: what changes is kept in a Cell or a RefCell",
        ));
    }
    if let Some(param) = method.sig.generics.params.first() {
        return Err(Error::new_spanned(param, "a method of an exo cannot be generic"));
    }
    let (ident, wire) = (&method.sig.ident, camel_case(&method.sig.ident.to_string()));
    let inputs = method.sig.inputs.iter().filter_map(|it| if let FnArg::Typed(it) = it { Some(&*it.ty) } else { None });
    let types: Vec<&Type> = inputs.collect();
    let args: Vec<_> = (1..=types.len()).map(|i| format_ident!("arg{i}")).collect();
    // Each has the place of its type, so that the compiler points at a type that cannot be taken.
    let takes = args.iter().zip(&types).map(|(arg, ty)| quote_spanned!(ty.span()=> let #arg: #ty = args.take()?;));
    let this = if by_rc { quote!(self) } else { quote!(&self) };
    let answer = match &method.sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => ident.span(),
    };
    // It has the place of the answer's type, so that the compiler points at a type that cannot be sent.
    let call = quote_spanned!(answer=> <#ty>::#ident(#this #(, #args)*));
    let reply = if method.sig.asyncness.is_some() {
        quote!(::vat::Reply::later(async move { ::vat::IntoOutcome::into_outcome(#call.await) }))
    } else {
        quote!(::vat::Reply::now(#call))
    };
    Ok(quote! {
        #wire => {
            #(#takes)*
            ::core::result::Result::Ok(#reply)
        }
    })
}

fn camel_case(snake: &str) -> String {
    let mut camel = String::with_capacity(snake.len());
    let mut upper = false;
    for c in snake.trim_start_matches("r#").chars() {
        if c == '_' && !camel.is_empty() {
            upper = true;
        } else if upper {
            camel.extend(c.to_uppercase());
            upper = false;
        } else {
            camel.push(c);
        }
    }
    camel
}

fn expand_root(build: &ItemFn) -> Result<Tokens> {
    let ident = &build.sig.ident;
    let root = match &build.sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => ident.span(),
    };
    let call = match build.sig.inputs.len() {
        0 => quote_spanned!(root=> #ident()),
        1 if matches!(build.sig.inputs[0], FnArg::Typed(_)) => {
            quote_spanned!(root=> #ident(::vat::__private::parameters(params)))
        }
        _ => {
            let inputs = &build.sig.inputs;
            return Err(Error::new_spanned(inputs, "a root takes the parameters, or nothing"));
        }
    };
    let interface = interface::of_root(build);
    Ok(quote! {
        #build

        #interface

        /// The kernel calls this with the length of the delivery that waits.
        #[cfg(target_arch = "wasm32")]
        #[unsafe(no_mangle)]
        extern "C" fn vat_deliver(len: u32) {
            ::vat::__private::deliver(len, |params| ::vat::IntoRoot::into_root(#call));
        }

        /// A vat is a wasm module. Its native build exists for its unit tests only, and needs a `main` to link.
        #[cfg(not(target_arch = "wasm32"))]
        #[allow(dead_code, reason = "a vat that is a library has no use for it")]
        fn main() {
            let _: fn(::vat::Value) -> ::vat::Rc<dyn ::vat::Exo> =
                |params| ::vat::IntoRoot::into_root(#call);
        }
    })
}
